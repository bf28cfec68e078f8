"""A local web page on which anybody can see what pruning does to an answer.

`wish` is what a visitor asks for, `examples` are the pictures that ship, `clips` reads what is dropped, `answering`
runs the methods, `saliency`, `budgets` and `attention` look further, `desk` lends the one model to one visitor at a
time, `notices` tells each visitor the warnings of their own work, `svg`, `cards` and `copies` say it in HTML and
text. None of these imports Gradio, which `handlers`, `layout` and `launch` alone know.
"""
