{# Generated from ingestion/contracts/enums by `python -m ingestion.contracts.generate`; do not edit.
   Our value of what a system's picklist says; null for a word the registry does not know. The variable `picklists` tries other meanings. #}
{% macro canonical_value(enum, system, column) -%}
{%- set picklists = var('picklists', none) or {
  "activity_type": {
    "hubspot": {
      "e_opened_email_v2": "email_open",
      "OPEN": "email_open",
      "e_clicked_link_in_email_v2": "email_click",
      "CLICK": "email_click",
      "e_submitted_form_v2": "form_submit",
      "pe_webinar_attended": "webinar_attend",
      "e_visited_page": "page_view",
      "SENT": "email_sent",
      "MEETING": "meeting_booked",
      "CALL": "call",
      "EMAIL": "email_sent",
      "INCOMING_EMAIL": "reply",
      "NOTE": "note",
      "TASK": "task"
    },
    "salesforce": {
      "Call": "call",
      "Email": "email_sent",
      "ListEmail": "email_sent",
      "Task": "task",
      "Event": "meeting_booked",
      "Meeting": "meeting_booked"
    },
    "marketo": {
      "Open Email": "email_open",
      "Click Email": "email_click",
      "Fill Out Form": "form_submit",
      "Visit Webpage": "page_view",
      "Send Email": "email_sent"
    },
    "web": {
      "form.submitted": "form_submit",
      "page.viewed": "page_view"
    }
  },
  "consent_channel": {
    "hubspot": {
      "EMAIL": "email",
      "SMS": "sms",
      "WHATSAPP": "sms"
    },
    "salesforce": {
      "Email": "email",
      "Phone": "phone",
      "MailingAddress": "post"
    },
    "marketo": {
      "unsubscribed": "email",
      "doNotCall": "phone"
    },
    "web": {
      "email": "email",
      "phone": "phone",
      "sms": "sms"
    }
  },
  "consent_status": {
    "hubspot": {
      "SUBSCRIBED": "granted",
      "UNSUBSCRIBED": "withdrawn",
      "NOT_SUBSCRIBED": "denied",
      "NOT_SPECIFIED": "pending"
    },
    "salesforce": {
      "OptIn": "granted",
      "OptOut": "withdrawn",
      "Seen": "pending",
      "NotSeen": "pending"
    },
    "marketo": {}
  },
  "lawful_basis": {
    "hubspot": {
      "CONSENT_WITH_NOTICE": "consent",
      "PROCESS_AND_STORE": "consent",
      "LEGITIMATE_INTEREST_PQL": "legitimate_interest",
      "LEGITIMATE_INTEREST_CLIENT": "legitimate_interest",
      "LEGITIMATE_INTEREST_OTHER": "legitimate_interest",
      "PERFORMANCE_OF_CONTRACT": "contract",
      "NON_GDPR": "not_applicable",
      "Freely given consent from contact": "consent",
      "Legitimate interest – prospect/lead": "legitimate_interest",
      "Legitimate interest – existing customer": "legitimate_interest",
      "Legitimate interest - other": "legitimate_interest",
      "Performance of a contract": "contract",
      "Not applicable": "not_applicable"
    },
    "salesforce": {},
    "marketo": {}
  },
  "lifecycle_stage": {
    "hubspot": {
      "subscriber": "raw",
      "lead": "inquiry",
      "marketingqualifiedlead": "mql",
      "salesqualifiedlead": "sql",
      "opportunity": "opportunity",
      "customer": "customer",
      "evangelist": "customer",
      "other": "other"
    },
    "salesforce": {
      "Open - Not Contacted": "inquiry",
      "New": "inquiry",
      "MQL": "mql",
      "Working - Contacted": "accepted",
      "Working": "accepted",
      "Contacted": "accepted",
      "Accepted": "accepted",
      "Rejected": "rejected",
      "Nurture": "recycled",
      "Nurturing": "recycled",
      "Recycled": "recycled",
      "Qualified": "sql",
      "Closed - Converted": "sql",
      "Converted": "sql",
      "Unqualified": "disqualified",
      "Closed - Not Converted": "disqualified"
    },
    "marketo": {
      "Known": "raw",
      "Engaged": "inquiry",
      "Lead": "inquiry",
      "MQL": "mql",
      "SAL": "accepted",
      "SQL": "sql",
      "Opportunity": "opportunity",
      "Customer": "customer",
      "Recycled": "recycled",
      "Disqualified": "disqualified"
    }
  },
  "meeting_status": {
    "hubspot": {
      "SCHEDULED": "booked",
      "RESCHEDULED": "rescheduled",
      "COMPLETED": "held",
      "NO_SHOW": "no_show",
      "CANCELED": "cancelled"
    },
    "salesforce": {},
    "marketo": {},
    "calendar": {
      "confirmed": "booked",
      "tentative": "booked",
      "held": "held",
      "no_show": "no_show",
      "cancelled": "cancelled"
    }
  },
  "opportunity_stage": {
    "hubspot": {
      "appointmentscheduled": "prospecting",
      "qualifiedtobuy": "qualification",
      "presentationscheduled": "evaluation",
      "decisionmakerboughtin": "proposal",
      "contractsent": "negotiation",
      "closedwon": "closed_won",
      "closedlost": "closed_lost"
    },
    "salesforce": {
      "Prospecting": "prospecting",
      "Qualification": "qualification",
      "Needs Analysis": "evaluation",
      "Value Proposition": "evaluation",
      "Id. Decision Makers": "evaluation",
      "Perception Analysis": "evaluation",
      "Proposal/Price Quote": "proposal",
      "Negotiation/Review": "negotiation",
      "Closed Won": "closed_won",
      "Closed Lost": "closed_lost"
    },
    "marketo": {}
  },
  "receipt_status": {
    "hubspot": {},
    "salesforce": {},
    "marketo": {}
  },
  "sync_action": {
    "hubspot": {},
    "salesforce": {},
    "marketo": {}
  }
} -%}
case {{ column }}
    {% for theirs, ours in picklists[enum][system].items() -%}
    when '{{ theirs }}' then '{{ ours }}'
    {% endfor -%}
end
{%- endmacro %}
