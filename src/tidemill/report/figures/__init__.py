"""The figures of a run's report: each a function from values to a Plotly figure of bounded size.

They stand in the report and in the tracker alike. Figures set no colours (`style.py`) beyond grey.
"""
