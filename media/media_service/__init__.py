"""mediad: the media service."""
