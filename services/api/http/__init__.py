"""The thin layer between Flask and the routes: operations, problems, access, waiting, OpenAPI."""
