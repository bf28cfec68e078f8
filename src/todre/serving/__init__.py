"""What servers and their clients share: pictures by address, wire, measures."""
