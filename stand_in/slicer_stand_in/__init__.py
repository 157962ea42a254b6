"""A stand-in for the desktop program of 3D Slicer, for tests and pictures without it.

``slicer_stand_in.desktop.Desktop`` adds to the wheel ``slicer-core`` what the program has: ``qt``, ``ctk``,
``slicer.app``, scripted modules, parameter nodes, and the functions of ``slicer.util`` that need a window. It offers
the names that Slicer 5.8.1 has and refuses all others.
"""
