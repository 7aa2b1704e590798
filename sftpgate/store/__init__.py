"""The store on disk: operations, paths, and the local file manager."""
