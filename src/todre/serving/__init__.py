"""What servers and their clients share: pictures of requests, and what a request kept."""
