"""What is taught: the steps of the guide and every word of it, in both languages. No Streamlit here."""

from lessons.language import DEFAULT_LANGUAGE, LANGUAGES, Words, words

__all__ = ["DEFAULT_LANGUAGE", "LANGUAGES", "Words", "words"]
