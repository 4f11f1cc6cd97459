"""The channel a visit came by, after Google Analytics' default channel groups (https://support.google.com/analytics/answer/9756891)."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from ingestion.normalize.batches import each_distinct
from ingestion.normalize.domains import host_of, registrable_domain
from ingestion.normalize.referrers import site_of

if TYPE_CHECKING:
    import pyarrow as pa

# Names that stand for a site in utm_source without being its host; Google publishes its list beside the definitions.
_NAMED = {
    "search": frozenset(
        ["360", "alice", "aol", "ask", "auone", "avg", "babylon", "baidu", "biglobe", "bing", "brave", "centrum", "comcast", "conduit", "daum", "dogpile", "duckduckgo", "ecosia", "eniro", "exalead", "excite", "globo", "google", "google-play", "googlemybusiness", "incredimail", "kvasir", "lycos", "msn", "najdi", "naver", "netscape", "onet", "pchome", "qwant", "rakuten", "rambler", "search-results", "seznam", "sogou", "startpage", "startsiden", "virgilio", "yahoo", "yahoo!", "yandex"]
    ),
    "social": frozenset(
        ["bluesky", "blogger", "digg", "discord", "disqus", "douban", "facebook", "fb", "flickr", "flipboard", "foursquare", "glassdoor", "goodreads", "googleplus", "hackernews", "hootsuite", "ig", "instagram", "kakao", "line", "linkedin", "livejournal", "mastodon", "meetup", "messenger", "mixi", "odnoklassniki", "pinterest", "pocket", "qzone", "quora", "reddit", "renren", "skype", "slashdot", "snapchat", "stackoverflow", "stumbleupon", "telegram", "threads", "tiktok", "trello", "tripadvisor", "tumblr", "twitter", "viadeo", "vk", "vkontakte", "wechat", "weibo", "whatsapp", "wordpress", "x", "xing", "yammer", "yelp"]
    ),
    "video": frozenset(
        ["crackle", "curiositystream", "dailymotion", "disneyplus", "hulu", "iqiyi", "netflix", "ted", "twitch", "veoh", "viddler", "vimeo", "wistia", "youku", "youtube"]
    ),
    "shopping": frozenset(
        ["alibaba", "aliexpress", "amazon", "ebay", "etsy", "google shopping", "igshopping", "mercadolibre", "nextag", "shopify", "shopping",
         "shopzilla", "slickdeals", "stripe", "walmart"]
    ),
}  # fmt: skip
# The same sites by the name their domain was registered under, in any top-level domain; they come before the list of referrers, to which
# YouTube is a network and Amazon a search engine.
_REGISTERED = {
    "video": _NAMED["video"],
    "shopping": frozenset(["alibaba", "aliexpress", "amazon", "ebay", "etsy", "mercadolibre", "mercadolivre", "shopify", "shopzilla", "slickdeals", "walmart"]),
}  # fmt: skip
_HOSTS = {"youtu.be": "video", "checkout.stripe.com": "shopping", "shopping.naver.com": "shopping", "shop.app": "shopping"}  # fmt: skip

_PAID = re.compile(r"^(.*cp.*|ppc|retargeting|paid.*)$")
_SHOPPING_CAMPAIGN = re.compile(r"^(.*(([^a-df-z]|^)shop|shopping).*)$")
_VIDEO = re.compile(r"^(.*video.*)$")
_DISPLAY = frozenset({"display", "banner", "expandable", "interstitial", "cpm"})
_SOCIAL = frozenset(
    {"social", "social-network", "social-media", "sm", "social network", "social media"}
)
_EMAIL = frozenset({"email", "e-mail", "e_mail", "e mail"})
# "paid_social" is how most write what Google's table knows by the source alone: the medium says which of the paid channels it is.
_PAID_MEDIA = {
    "paid_social": "paid_social", "paidsocial": "paid_social", "paid-social": "paid_social", "paid social": "paid_social",
    "paid_search": "paid_search", "paidsearch": "paid_search", "paid-search": "paid_search", "paid search": "paid_search",
    "paid_video": "paid_video", "paidvideo": "paid_video", "paid-video": "paid_video",
    "paid_shopping": "paid_shopping", "paid-shopping": "paid_shopping",
}  # fmt: skip
_NOTHING = frozenset({"", "(none)", "(not set)"})
# Stands between the texts of a row.
_BETWEEN = "\x1f"
_MEDIUM_OF_SITE = {"search": "organic", "email": "email", "paid": "paid"}


def source_category(source: str | None) -> str | None:
    """Kind of site `source` (utm_source: a name or a host) is: search, social, video, shopping, or None. Case does not matter."""
    name = " ".join((source or "").lower().split())
    for category, names in _NAMED.items():
        if name in names:
            return category
    if "." not in name:
        return None
    host = (host_of(name) or "").removeprefix("www.")
    for end, category in _HOSTS.items():
        if host == end or host.endswith(f".{end}"):
            return category
    registered = (registrable_domain(host) or "").partition(".")[0]
    for category, names in _REGISTERED.items():
        if registered in names:
            return category
    site = site_of(host)
    return site.medium if site and site.medium in ("search", "social") else None


def channel_group(source: str | None, medium: str | None, campaign: str | None) -> str:
    """Default channel group of a visit by its `source`, `medium` and `campaign`, in Google's order, spelled paid_search for Paid Search.

    `unassigned` where no rule holds; `direct` where neither source nor medium is given or the source is "direct".
    """
    source = " ".join((source or "").lower().split())
    medium = " ".join((medium or "").lower().split())
    campaign = (campaign or "").lower()
    if source in ("", "direct", "(direct)", "(not set)") and medium in _NOTHING and not campaign:
        return "direct"
    if source in ("direct", "(direct)") and medium in _NOTHING:
        return "direct"
    if "cross-network" in campaign:
        return "cross_network"
    category = source_category(source)
    is_shopping = category == "shopping" or bool(_SHOPPING_CAMPAIGN.match(campaign))
    is_paid = bool(_PAID.match(medium))
    if is_paid and is_shopping:
        return "paid_shopping"
    if is_paid and category:
        return f"paid_{category}"
    if medium in _DISPLAY:
        return "display"
    if is_paid:
        return _PAID_MEDIA.get(medium, "paid_other")
    if is_shopping:
        return "organic_shopping"
    if category == "social" or medium in _SOCIAL or medium in ("organic_social", "organic-social"):
        return "organic_social"
    if category == "video" or _VIDEO.match(medium):
        return "organic_video"
    if category == "search" or medium in ("organic", "organic_search"):
        return "organic_search"
    if medium in ("referral", "app", "link"):
        return "referral"
    if source in _EMAIL or medium in _EMAIL:
        return "email"
    if medium in ("affiliate", "affiliates"):
        return "affiliates"
    if medium == "audio":
        return "audio"
    if "sms" in (source, medium):
        return "sms"
    if medium.endswith("push") or "mobile" in medium or "notification" in medium or source == "firebase":  # fmt: skip
        return "mobile_push_notifications"
    return "unassigned"


def visit_channel(
    source: str | None,
    medium: str | None,
    campaign: str | None,
    referrer: str | None,
    url: str | None,
) -> str | None:
    """Channel of a visit to `url` from the page `referrer`, by what its utm_* parameters say; None where nothing says anything.

    Parameters that are not given are looked for in `url`. Without any, the referring page counts: one of the visited site itself says
    nothing (https://support.google.com/analytics/answer/11242870), webmail is e-mail, and what is unknown is a referral.
    """
    if not (source or medium or campaign):
        source, medium, campaign = _parameters(url)
    if source or medium or campaign:
        return channel_group(source, medium, campaign)
    host = host_of(referrer)
    if host is None:
        return None
    visited = registrable_domain(url) if url else None
    if visited and registrable_domain(host) == visited:
        return None
    site = site_of(referrer)
    kind = _MEDIUM_OF_SITE.get(site.medium, "referral") if site else "referral"
    return channel_group(host if kind != "email" else None, kind, None)


def visit_channels(*columns: pa.ChunkedArray | pa.Array) -> pa.Array:
    """`visit_channel` of each row of five columns of strings: source, medium, campaign, referrer and url.

    Of the two URLs only what decides is looked at, so that a column has few distinct rows, each told once.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    source, medium, campaign, referrer, url = (
        column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        for column in columns
    )
    texts = [
        pc.replace_substring(pc.fill_null(text.cast(pa.string()), ""), _BETWEEN, " ")
        for text in (source, medium, campaign, _start(referrer), _deciding(url, referrer))
    ]
    return each_distinct(pc.binary_join_element_wise(*texts, _BETWEEN), _of_joined)


# A column comes in pieces of two thousand rows, with the same campaigns in them.
@functools.lru_cache(maxsize=100_000)
def _of_joined(row: str | None) -> str | None:
    return visit_channel(*(row or "").split(_BETWEEN))


def _start(urls: pa.Array) -> pa.Array:
    """Scheme, host and the first parts of the path: what tells a site."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.replace_substring_regex(
        urls.cast(pa.string()),
        r"^(\s*(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?(?://)?[^/?#]*(?:/[^/?#]*){0,2}).*$",
        r"\1",
    )


def _deciding(urls: pa.Array, referrers: pa.Array) -> pa.Array:
    """The whole of those URLs that carry parameters of a campaign, and the host of those that were come to from somewhere."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = urls.cast(pa.string())
    has_parameters = pc.fill_null(pc.match_substring(texts, "utm_"), False)
    asks_host = pc.and_not(pc.is_valid(referrers), has_parameters)
    hosts = pc.replace_substring_regex(
        pc.if_else(asks_host, texts, pa.scalar(None, pa.string())),
        r"^(\s*(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?(?://)?[^/?#]*).*$",
        r"\1",
    )
    return pc.if_else(has_parameters, texts, hosts)


def _parameters(url: str | None) -> tuple[str | None, str | None, str | None]:
    if not url or "utm_" not in url:
        return None, None, None
    try:
        given = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    except ValueError:
        return None, None, None
    return given.get("utm_source"), given.get("utm_medium"), given.get("utm_campaign")
