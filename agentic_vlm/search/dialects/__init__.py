"""The search services that can be asked, one file each."""

from agentic_vlm.search.dialects.base import Dialect, FormError, FoundPicture
from agentic_vlm.search.dialects.brave import Brave
from agentic_vlm.search.dialects.json_form import JsonForm
from agentic_vlm.search.dialects.serpapi import SerpApi
from agentic_vlm.search.dialects.serper import Serper

__all__ = ["Brave", "Dialect", "FormError", "FoundPicture", "JsonForm", "SerpApi", "Serper"]
