"""The server that everybody writes first: FastAPI around a transformers pipeline. ``benchmarks.serve`` starts it."""

import sys

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoTokenizer, pipeline

app = FastAPI()
folder, port = sys.argv[1], int(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
pipe = pipeline("text-generation", model=folder, tokenizer=tokenizer, dtype=torch.float32)


class Asked(BaseModel):
    prompt: str
    max_tokens: int = 16


@app.get("/ready")
def ready() -> dict[str, str]:
    return {"status": "ready"}


@app.post("/v1/completions")
def completions(asked: Asked) -> dict[str, list[dict[str, str]]]:
    made = pipe(asked.prompt, max_new_tokens=asked.max_tokens, do_sample=False, return_full_text=False)
    return {"choices": [{"text": made[0]["generated_text"]}]}


if __name__ == "__main__":
    uvicorn.run(app, port=port, log_level="warning")
