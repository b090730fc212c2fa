"""What the API answers, as frozen dataclasses.

Each keeps the answer as it came in ``raw``: what a newer server says beyond these fields is found there.
"""
