"""Experiments: what trained models reach on a data set, and the tables of the papers.

``contenders.py`` runs a model or a method on a prepared pair, ``evaluate.py`` measures it on all pairs of a split,
``segmentation.py`` measures the segmentation network of a joint training. ``papers.py`` reads the tables of the papers
(``Resources/Papers``), ``run.py`` trains and evaluates their rows, ``printed.py`` makes the table, the paper's figures
beside ours, and ``written.py`` writes pages, plots and montages.
"""
