"""Notifications as people and processes use them: put together from the settings, listed, tested, sent again."""
