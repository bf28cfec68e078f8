"""The study of stage 2: where a model needs its picture and where it leaves.

One full run of a picture and its questions is kept, with the states that enter every layer. Each change of the layers
(`changes`) starts from these states, so it costs only the layers behind it, on the questions' columns alone.
"""
