"""Its presence lets the tests in the folders below import what lies here, such as `checked_tables.py`."""
