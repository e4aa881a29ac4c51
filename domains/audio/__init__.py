"""Music that follows the hand: one control language, readers and extractors, metrics, writers."""
