"""A small OpenAI-compatible server that follows a script: run as a program, it listens at --port.

What it does to a request, the request's own body says (`script`): `pieces` of text, seconds before the first (`first`)
and between two (`gap`), `status` for a refusal, `cut` for a stream that ends early, `usage` for a count of tokens.
`/seen` tells what came, when each piece was sent, and how many requests were in flight at most.
"""

import argparse
import asyncio
import hashlib
import json
import time

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

TOWER_SECONDS = 0.125  # for each request, as the counter tells
KV_EACH = 0.0625  # share of the cache for each request in flight
app = FastAPI()
seen = {"requests": [], "in_flight": 0, "most": 0}
hoard = []
leak = 0


@app.get("/health")
def health():
    return {}


@app.get("/metrics")
@app.get("/metrics/")
def metrics():
    lines = [
        'vllm:cache_config_info{kv_cache_size_tokens="1600"} 1.0',
        f"vllm:kv_cache_usage_perc {seen['most'] * KV_EACH}",
        'todre_stage_seconds_sum{stage="decode"} 1e9',
        f'todre_stage_seconds_sum{{stage="tower"}} {len(seen["requests"]) * TOWER_SECONDS}',
        "not:asked_for 7",
    ]
    return PlainTextResponse("\n".join(lines) + "\n")


@app.get("/seen")
def tell():
    return seen


@app.post("/v1/chat/completions")
async def chat(request: Request):
    body = await request.json()
    script = body.get("script", {})
    content = body["messages"][0]["content"]
    record = {
        "who": body.get("who"),
        "picture": hashlib.sha256(content[0]["image_url"]["url"].encode()).hexdigest(),
        "text": content[1]["text"],
        "came": time.perf_counter(),
        "sent": [],
        **{name: body[name] for name in ("model", "max_tokens", "temperature", "stream")},
    }
    seen["requests"].append(record)
    number = len(seen["requests"])
    if leak:
        hoard.append(bytearray(b"x" * leak))
    if number in script.get("refused", ()):
        return JSONResponse({"error": {"message": "no room left"}}, status_code=script.get("status", 500))
    return StreamingResponse(answer(body, script, record, number), media_type="text/event-stream")


async def answer(body, script, record, number):
    seen["in_flight"] += 1
    seen["most"] = max(seen["most"], seen["in_flight"])
    try:
        await asyncio.sleep(script.get("first", 0.0))
        yield chunk(delta={"role": "assistant", "content": ""})
        for piece in range(script.get("pieces", 3)):
            if piece:
                await asyncio.sleep(script.get("gap", 0.0))
            record["sent"].append(time.perf_counter())
            yield chunk(delta={"content": f"w{piece} "})
        if number not in script.get("cut", ()):
            yield chunk(delta={}, finish_reason="length")
        if "usage" in script:
            tokens = {"prompt_tokens": 1, "completion_tokens": script["usage"], "total_tokens": 1 + script["usage"]}
            yield chunk(usage=tokens)
        yield "data: [DONE]\n\n"
    finally:
        seen["in_flight"] -= 1


def chunk(delta=None, finish_reason=None, usage=None):
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    document = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "fake", "choices": choices}
    return "data: " + json.dumps(document | ({} if usage is None else {"usage": usage})) + "\n\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--leak", type=int, default=0, help="bytes that every request leaves behind")
    options = parser.parse_args()
    leak = options.leak
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="error")
