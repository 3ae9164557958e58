"""The Slicer side of SlicReg: MRML nodes, the background process, the widgets. Imports no torch."""
