"""What servers and their clients share.

That is reading the pictures of requests, and saying what a request kept.
"""
