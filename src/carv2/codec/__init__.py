"""What a block holds, by the codec of its CID: its links, and its value."""
