"""Prints the API's OpenAPI document: ``python -m services.api > openapi.json``."""

import json
import sys

from services.api.routes import document

json.dump(document(), sys.stdout, indent=2, ensure_ascii=False)
sys.stdout.write("\n")
