"""The ways out: mail, webhooks, commands of this machine, chat. Each delivers one message, in bounded time."""
