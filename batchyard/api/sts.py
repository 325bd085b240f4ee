"""GetCallerIdentity: what many clients ask first, to learn the account."""

from __future__ import annotations

from batchyard.api.context import Context, Params, Result, operation


@operation("sts", "GetCallerIdentity")
async def get_caller_identity(context: Context, params: Params) -> Result:
    """The account of this server; a user that is named like the access key."""
    user = context.caller.access_key or "anonymous"
    settings = context.settings
    return {
        "UserId": user,
        "Account": settings.account_id,
        "Arn": f"arn:{settings.partition}:iam::{settings.account_id}:user/{user}",
    }
