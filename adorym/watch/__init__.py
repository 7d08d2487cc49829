"""A local page that shows runs while they go on and when they are finished; it only reads.

`adorym.watch.folders` finds runs, `adorym.watch.answers` tells what there is to see of one, `adorym.watch.server`
serves it to a browser, `adorym.watch.widget` to a notebook.
"""
