"""Where complete files go, and what keeps one waiting: companions, batch locks, the stock consumer."""
