"""How a large language model works, part by part: a headless library without Streamlit or Plotly."""

__version__ = "0.1.0"
