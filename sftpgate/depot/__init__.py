"""The depot of command files, for people and programs of this machine."""
