"""The table that lies there first: feedback of customers of a furniture shop that does not exist.

Written for this guide: the sentences by hand, half of them Chinese, half English; a script has dealt them to 200 rows
with products, regions, ratings and dates. Both files hold the same rows, once with English names, once with Chinese.
"""

from pathlib import Path

from llmkit.analyse.table import About, keep_table
from llmkit.tune.data.dataset import read_table

LANGUAGES = ("en", "zh-TW")


def keep_sample(lang: str) -> About:
    """Keep the sample with the names of one language, "en" or "zh-TW", as a table like any other."""
    path = sample_file(lang)
    return keep_table(read_table(path.read_bytes(), path.name, header=True, encoding="UTF-8"))


def sample_file(lang: str) -> Path:
    """Where the sample stands."""
    return Path(__file__).with_name(f"furniture.{lang if lang in LANGUAGES else 'en'}.csv")
