"""The heat equation on a plate, solved by several nodes of one multi-node parallel job."""
