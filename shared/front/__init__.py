"""What every front end of the suite is made of: settings, command line, page controls, endpoints, jobs, provenance.

A domain declares an *operation* once and gets the rest from here:

1. ``settings.py``     a frozen dataclass of options: the only place where an option is declared
2. ``operation.py``    settings class + the function that does the work + its public name
3. ``command.py``      operation -> a command of the command line
4. ``controls.py``     settings class -> controls of a page, and back
5. ``endpoint.py``     operation -> typed public endpoint (API and MCP)
6. ``jobs.py``         the one job runner of a server: place in line, progress, cancel
7. ``provenance.py``   what is written beside every result, and atomic writing

Nothing here imports torch or Gradio when it is imported: ``--help`` stays quick.
"""
