"""The labels by which what a server has in Docker is found again."""

from __future__ import annotations

LABEL_SERVER = "batchyard.server"
"""Whose it is, of all servers on the daemon."""
LABEL_ATTEMPT = "batchyard.attempt"
LABEL_CONTAINER = "batchyard.container"
"""The place of the container in its task, from 0; PAUSE for the one that holds what the others share."""
LABEL_TASK = "batchyard.task"
"""The order of the task's containers, where there are several: by it a later server goes on with them."""
LABEL_BOOT = "batchyard.boot"
LABEL_FOLDER = "batchyard.data-dir"
"""The data folder, so that what is left of one that was deleted can be told."""
LABEL_UNREAD = "batchyard.unread"
"""On containers whose output goes elsewhere: Docker may be able to read it all the same."""
LABEL_VOLUME_OF = "batchyard.volume-of"
"""On the volumes that go with an attempt: the prefix of its containers' names, and its id."""
PAUSE = "pause"
