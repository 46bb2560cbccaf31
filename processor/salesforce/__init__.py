"""Writes rows to Salesforce Tasks: many a call, one at a time per Task, every outcome a verdict.

Start at `writer.py`; `verdicts.py` says what each of Salesforce's answers means.
"""
