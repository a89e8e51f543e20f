"""What each framework can do: a table whose cells were filled by running something.

``rows.py`` lists the rows, ``probes/`` has a file for each, ``checking.py`` runs beside
them in the framework's interpreter, ``run.py`` asks for cells, ``cells.py`` says what
an answer means.
"""
