"""Calls of the kernel that Python offers too plainly, or not at all: open files and directories, ACLs, renames."""
