"""Word lists the sandbox world is drawn from: names, countries, industries, titles; no logic, no
randomness.

All companies carry the marker `demoworld` in their domain, so that no address can belong to
anybody: the reserved TLDs (RFC 2606 `.test`, `.invalid`) are refused by e-mail validators and would
hide real behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Country:
    """One country: ISO 3166-1 alpha-2 code, English name as Salesforce shows it, territory, phone
    patterns.

    `phones` are (national prefix or '' , area, subscriber template) with `#` for a random digit;
    every combination is valid per libphonenumber (tests/unit/test_sandbox_world.py proves it).
    Where a regulator reserves numbers for drama (DE, GB, US, CA, AU, FR), those are used.
    """

    code: str
    name: str
    territory: str
    calling_code: str
    trunk: str
    idd: str
    phones: tuple[tuple[str, str], ...]
    utc_offset: int
    tld: str
    cities: tuple[tuple[str, str, str], ...]
    language: str


COUNTRIES: dict[str, Country] = {
    row.code: row
    for row in (
        Country("DE", "Germany", "dach", "49", "0", "00", (("30", "2312####"), ("151", "23######")),
                1, "de", (("Hamburg", "Hamburg", "20095"), ("München", "Bayern", "80331"),
                          ("Köln", "Nordrhein-Westfalen", "50667")), "de"),
        Country("AT", "Austria", "dach", "43", "0", "00", (("664", "123#####"), ("720", "88####")),
                1, "at", (("Wien", "Wien", "1010"), ("Graz", "Steiermark", "8010")), "de"),
        Country("CH", "Switzerland", "dach", "41", "0", "00", (("44", "555####"), ("79",
        "123####")),
                1, "ch", (("Zürich", "Zürich", "8001"), ("Bern", "Bern", "3011")), "de"),
        Country("GB", "United Kingdom", "emea", "44", "0", "00",
                (("20", "79460###"), ("7400", "123###")), 0, "co.uk",
                (("London", "England", "EC1A 1BB"), ("Leeds", "England", "LS1 4DY")), "en"),
        Country("FR", "France", "emea", "33", "0", "00", (("1", "990#####"), ("1", "4012####")),
                1, "fr", (("Lyon", "Auvergne-Rhône-Alpes", "69002"),
                          ("Nîmes", "Occitanie", "30000")), "fr"),
        Country("NL", "Netherlands", "emea", "31", "0", "00", (("20", "55#####"), ("6",
        "12######")),
                1, "nl", (("Utrecht", "Utrecht", "3511 AB"),), "nl"),
        Country("ES", "Spain", "emea", "34", "", "00", (("91", "55#####"), ("612", "######")),
                1, "es", (("Málaga", "Andalucía", "29001"), ("Madrid", "Madrid", "28001")), "es"),
        Country("IT", "Italy", "emea", "39", "", "00", (("02", "55######"), ("333", "#######")),
                1, "it", (("Milano", "Lombardia", "20121"),), "it"),
        Country("SE", "Sweden", "emea", "46", "0", "00", (("8", "46######"), ("70", "174####")),
                1, "se", (("Malmö", "Skåne", "211 18"),), "se"),
        Country("PL", "Poland", "emea", "48", "", "00", (("501", "######"),),
                1, "pl", (("Kraków", "Małopolskie", "30-001"),), "pl"),
        Country("US", "United States", "americas", "1", "", "011",
                (("212", "555####"), ("512", "5550###"), ("312", "5550###")), -6, "com",
                (("Austin", "Texas", "78701"), ("Columbus", "Ohio", "43004"),
                 ("Portland", "Oregon", "97201")), "en"),
        Country("CA", "Canada", "americas", "1", "", "011", (("416", "5550###"),), -5, "ca",
                (("Toronto", "Ontario", "M5H 2N2"), ("Montréal", "Québec", "H2Y 1C6")), "en"),
        Country("BR", "Brazil", "americas", "55", "0", "0014", (("11", "9########"),), -3, "com.br",
                (("São Paulo", "São Paulo", "01310-100"),), "pt"),
        Country("MX", "Mexico", "americas", "52", "", "00", (("55", "########"),), -6, "mx",
                (("Ciudad de México", "Ciudad de México", "06000"),), "es"),
        Country("SG", "Singapore", "apac", "65", "", "000", (("81", "23####"), ("62", "12####")),
                8, "sg", (("Singapore", "", "049315"),), "sg"),
        Country("AU", "Australia", "apac", "61", "0", "0011", (("2", "5550####"), ("491",
        "570###")),
                10, "com.au", (("Melbourne", "Victoria", "3000"),), "en"),
        Country("JP", "Japan", "apac", "81", "0", "010", (("3", "5#######"), ("90", "5#######")),
                9, "co.jp", (("Osaka", "Osaka", "530-0001"),), "jp"),
        Country("IN", "India", "apac", "91", "0", "00", (("981", "#######"),), 5, "in",
                (("Pune", "Maharashtra", "411001"),), "in"),
    )
}  # fmt: skip

# How many of the companies stand in each country; the sum is 80.
COMPANY_SHARES: dict[str, int] = {
    "DE": 15, "AT": 3, "CH": 4, "GB": 10, "FR": 6, "NL": 4, "ES": 5, "IT": 3, "SE": 2, "PL": 2,
    "US": 13, "CA": 3, "BR": 2, "MX": 1, "SG": 2, "AU": 2, "JP": 2, "IN": 1,
}  # fmt: skip

FIRST_NAMES: dict[str, tuple[str, ...]] = {
    "de": ("Anna", "Jürgen", "Katharina", "Stefan", "Björn", "Sabine", "Lukas", "Heike", "Matthias",
           "Ulrike", "Tobias", "Jana", "Sören", "Claudia", "Felix", "Annegret", "Moritz", "Birgit"),
    "en": ("Oliver", "Amelia", "James", "Charlotte", "Harry", "Grace", "Zoë", "Liam", "Megan",
    "Ethan",
           "Hannah", "Siobhán", "Noah", "Abigail", "Connor", "Renée", "Logan", "Chloe"),
    "fr": ("Élodie", "François", "Chloé", "Jérôme", "Camille", "Mathieu", "Inès", "Benoît",
    "Margaux"),
    "nl": ("Daan", "Sanne", "Joris", "Fleur", "Bram", "Anouk", "Thijs", "Lotte"),
    "es": ("Lucía", "Álvaro", "Martín", "Sofía", "Íñigo", "Carmen", "Raúl", "Begoña", "Jesús"),
    "it": ("Giulia", "Matteo", "Niccolò", "Chiara", "Alessandro", "Martina"),
    "se": ("Åsa", "Björn", "Linnéa", "Måns", "Elin", "Göran"),
    "pl": ("Łukasz", "Małgorzata", "Wojciech", "Zofia", "Paweł"),
    "pt": ("João", "Beatriz", "Caio", "Letícia", "Antônio"),
    "sg": ("Wei Jie", "Hui Min", "Arjun", "Nurul", "Kai Xin"),
    "jp": ("Haruto", "Yūko", "Kenji", "Aoi", "Shōta"),
    "in": ("Ananya", "Rohan", "Kavya", "Vikram", "Ishaan"),
}  # fmt: skip

LAST_NAMES: dict[str, tuple[str, ...]] = {
    "de": ("Müller", "Schäfer", "Köhler", "Weiß", "Vogel", "Großmann", "Krämer", "Jäger", "Brandt",
           "Lindner", "Böhm", "Engelhardt", "Schröder", "Hübner", "Pfeiffer", "Roth", "Zöllner",
           "von Hagen"),
    "en": ("Whitfield", "Carter", "O'Connor", "Hughes", "Bennett", "Ashworth", "Reyes", "Campbell",
           "Doyle", "Sinclair", "Marsh", "Thornton", "Nguyen", "Patel", "Brooks", "MacLeod",
           "Foster",
           "Delgado"),
    "fr": ("Lefèvre", "Garçon", "Bélanger", "Dubois", "Mercier", "Béranger", "Noël", "Chauvin"),
    "nl": ("de Vries", "van den Berg", "Bakker", "Hendriks", "Smit", "Koster"),
    "es": ("Jiménez", "Núñez", "García", "Ibáñez", "Muñoz", "Ortega", "Peña", "Vázquez"),
    "it": ("Rossi", "Ferrari", "Conti", "D'Angelo", "Marchetti"),
    "se": ("Åström", "Lindqvist", "Sjöberg", "Öberg"),
    "pl": ("Wiśniewski", "Zając", "Kowalczyk", "Dąbrowski"),
    "pt": ("Gonçalves", "Araújo", "Magalhães", "Conceição"),
    "sg": ("Tan", "Lim", "Subramaniam", "Rahman"),
    "jp": ("Satō", "Kobayashi", "Ōno", "Watanabe"),
    "in": ("Iyer", "Deshpande", "Chatterjee", "Menon"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Industry:
    """One industry as each system spells it: HubSpot's internal value, Salesforce's picklist."""

    hubspot: str
    salesforce: str
    words: tuple[str, ...]


INDUSTRIES: tuple[Industry, ...] = (
    Industry("COMPUTER_SOFTWARE", "Technology", ("Softworks", "Cloudlab", "Systems")),
    Industry("MACHINERY", "Manufacturing", ("Maschinenbau", "Robotics", "Antriebe")),
    Industry("FINANCIAL_SERVICES", "Finance", ("Capital", "Payments", "Leasing")),
    Industry("HOSPITAL_HEALTH_CARE", "Healthcare", ("Medtech", "Health", "Diagnostics")),
    Industry("LOGISTICS_AND_SUPPLY_CHAIN", "Transportation", ("Logistik", "Freight", "Cargo")),
    Industry("RETAIL", "Retail", ("Handel", "Stores", "Mercado")),
    Industry("MANAGEMENT_CONSULTING", "Consulting", ("Advisory", "Partners", "Conseil")),
    Industry("RENEWABLES_ENVIRONMENT", "Energy", ("Solar", "Energia", "Wind")),
)

COMPANY_STEMS: dict[str, tuple[str, ...]] = {
    "de": ("Nordwind", "Elbtal", "Hansekai", "Alpenrand", "Sternbrück", "Rheinhof", "Waldkirch",
           "Isartor", "Müritz", "Falkensee", "Grünwald", "Lichtenfels"),
    "en": ("Oakmere", "Brightwater", "Copperfield", "Harrowgate", "Silverpine", "Redcliff",
    "Lakeshore",
           "Prairie", "Summit Ridge", "Cedar Bay", "Ironbridge", "Foxglove"),
    "fr": ("Clairval", "Beaurivage", "Montbrun", "Étoile"),
    "nl": ("Polderland", "Zuiderhaven", "Windmolen"),
    "es": ("Sierra Azul", "Monteverde", "Costa Norte", "Olivar"),
    "it": ("Valdoro", "Montechiaro", "Lagoverde"),
    "se": ("Norrsken", "Skärgård"),
    "pl": ("Wisłoka", "Bursztyn"),
    "pt": ("Serra Dourada", "Ipêroxo"),
    "sg": ("Merlion Bay", "Orchid Straits"),
    "jp": ("Sakuragawa", "Hoshino"),
    "in": ("Sahyadri", "Kaveri"),
}  # fmt: skip

SENIOR_TITLES: tuple[str, ...] = (
    "VP Operations", "Head of Marketing", "Director of Sales", "Chief Revenue Officer", "CTO",
    "Head of Supply Chain", "Director IT", "VP Finance", "Founder",
)  # fmt: skip
MIDDLE_TITLES: tuple[str, ...] = (
    "Marketing Manager", "Operations Manager", "Team Lead CRM", "Product Manager", "Sales Manager",
    "Einkaufsleiter", "Principal Engineer",
)  # fmt: skip
JUNIOR_TITLES: tuple[str, ...] = (
    "Marketing Specialist", "Analyst", "Account Executive", "Software Engineer", "Sachbearbeiterin",
    "Office Coordinator", "Consultant",
)  # fmt: skip

BLOG_PATHS: tuple[str, ...] = (
    "/blog/what-is-a-marketing-qualified-lead", "/blog/lead-scoring-in-practice",
    "/blog/dsgvo-und-leads", "/blog/first-touch-in-five-minutes", "/docs/quickstart",
    "/docs/webhooks",
)  # fmt: skip

# (source as HubSpot names it, referrer, share)
SOURCES: tuple[tuple[str, str, int], ...] = (
    ("ORGANIC_SEARCH", "https://www.google.com/", 26),
    ("PAID_SEARCH", "https://www.google.com/", 18),
    ("PAID_SOCIAL", "https://www.linkedin.com/", 16),
    ("EMAIL_MARKETING", "", 12),
    ("REFERRALS", "https://partners-demoworld.com/", 8),
    ("DIRECT_TRAFFIC", "", 14),
    ("OFFLINE", "", 6),
)

LEGAL_BASES: tuple[str, ...] = (
    "Legitimate interest – prospect/lead",
    "Freely given consent from contact",
)
