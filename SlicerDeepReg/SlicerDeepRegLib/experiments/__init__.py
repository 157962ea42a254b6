"""Experiments: what trained models reach on a data set, and the tables of the papers.

``contenders.py`` runs a model or a method on a prepared pair, ``evaluate.py`` measures it on all pairs of a split,
``papers.py`` reads the tables of the papers (``Resources/Papers``), ``plan.py`` makes trainings of their rows,
``run.py`` runs them and ``printed.py`` prints the table beside the paper's figures.
"""
