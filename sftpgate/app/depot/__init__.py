"""The local file manager: what people and programs of this machine see and do in the store."""
