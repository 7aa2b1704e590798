"""Small programs between a tool and its claimed file, for tools that take no file name. They run as the platform's user."""
