"""What one socket's session is made of; `realtime.consumers` puts it together."""
