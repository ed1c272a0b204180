"""Submits jobs and reads results, in threads or in asyncio."""
