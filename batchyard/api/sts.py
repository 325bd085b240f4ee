"""GetCallerIdentity: what many clients ask first, to learn the account."""

from __future__ import annotations

from batchyard.api.context import Context, Params, Result, operation
from batchyard.api.roles.verify import assumed_role_arn


@operation("sts", "GetCallerIdentity")
async def get_caller_identity(context: Context, params: Params) -> Result:
    """The account of this server; a user that is named like the access key, or the role that a job has."""
    caller, settings = context.caller, context.settings
    if caller.role is not None and caller.session is not None:
        arn = assumed_role_arn(settings, caller.role, caller.session)
        return {"UserId": f"{caller.access_key}:{caller.session}", "Account": arn.split(":")[4], "Arn": arn}
    user = caller.access_key or "anonymous"
    return {
        "UserId": user,
        "Account": settings.account_id,
        "Arn": f"arn:{settings.partition}:iam::{settings.account_id}:user/{user}",
    }
