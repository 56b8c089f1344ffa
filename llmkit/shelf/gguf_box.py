"""Turn a GGUF box into float32 safetensors, once, so that it opens in seconds afterwards.

The weights keep what they lost when they were quantised; only their form changes. This is the one place on the
shelf that loads model code of the reference: it is what can read GGUF's tokenizer and layout.
"""

from pathlib import Path


def convert_gguf(path: Path, folder: Path) -> None:
    """Write config, float32 weights, tokenizer and chat template of a GGUF file into a folder.

    Args:
        path: the ``.gguf`` file of a Llama-type model.
        folder: an existing folder.

    Raises:
        ValueError, OSError: when transformers cannot read the file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    read = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    if hasattr(read.config, "quantization_config"):
        del read.config.quantization_config  # the weights are plain numbers again
    with torch.device("meta"):
        plain = LlamaForCausalLM(read.config)
    plain.load_state_dict(read.state_dict(), assign=True)  # a model read from GGUF refuses to save itself
    plain.tie_weights()
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)
