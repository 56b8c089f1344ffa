"""Step 4-1, Chatbot: talk with a box or a server, see what each token cost, and what falls out of the window."""

import streamlit as st

from components import chatbot_engine as found
from components import chatbot_more as more
from components import chatbot_settings as settings
from components import chatbot_talk as conversation
from components import chatbot_tokens as tokens
from components import chatbot_window as window
from components.frame import sheet
from components.theme import own_style

with sheet("chatbot") as page:
    for name in ("generate", "socket", "chatbot"):
        st.html(own_style(name))
    talk, speaker = found.talk(), None
    with page.guard():
        talk.settle()
    with page.guard():
        speaker = settings.draw_who(page)
    how = settings.draw_settings(page, talk, speaker)
    conversation.begin(page, talk, speaker, how)
    fallen = frozenset[int]()
    if speaker is not None:
        with page.guard():
            fallen = window.draw_window(page, talk, speaker, how)
    tokens.draw_tokens(page, talk)
    page.warn()
    conversation.draw_talk(page, talk, speaker, fallen)
    more.draw_keep(page, talk)
    more.draw_check(page, talk)
