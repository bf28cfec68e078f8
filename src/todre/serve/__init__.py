"""An OpenAI-compatible server that prunes, at both of ToDRE's stages.

It is transformers' own, with another reading of requests.

`requests`, `messages` and `parameters` say what may be asked, `answering` answers on one thread, `endpoint` joins them
for HTTP, and `launch` starts the whole. `transformers_server` alone touches what is inside transformers' server.
"""
