-- What the batch says something about, and who shared an identifier with it before the batch. Rows of an attempt that died count again: its
-- half-done changes have overwritten what they were derived from.
{% set former_identifiers = adapter.get_relation(this.database, this.schema, 'int_identity__identifiers') %}
{% set former = adapter.get_relation(this.database, this.schema, this.identifier) %}

with mentioned as (
    select distinct record_key from {{ ref('int_identity__references') }}
    where {{ is_new() }}
),

accounts_changed as (
    select domain from {{ ref('stg_salesforce__accounts') }}
    where {{ is_new() }}
    union
    select domain from {{ ref('stg_hubspot__companies') }}
    where {{ is_new() }}
    union
    select domain from {{ ref('stg_events__accounts') }}
    where {{ is_new() }}
),

of_changed_accounts as (
    select record_key from {{ ref('int_contacts__current') }}
    where split_part(lower(email), '@', 2) in (select domain from accounts_changed where domain is not null)
),

changed as (
    select
        record_key,
        true as is_changed,
    from mentioned
    union all
    select
        record_key,
        true as is_changed,
    from of_changed_accounts
    {% if former_identifiers and not flags.FULL_REFRESH %}
        union all
        select
            neighbour.record_key,
            false as is_changed,
        from {{ former_identifiers }} as own
        inner join {{ former_identifiers }} as neighbour on own.identifier_key = neighbour.identifier_key
        where own.record_key in (select record_key from mentioned)
    {% endif %}
    {% if former and not flags.FULL_REFRESH %}
        union all
        select
            record_key,
            is_changed,
        from {{ former }}
        where since = '{{ var("since") }}'
    {% endif %}
)

select
    record_key,
    bool_or(is_changed) as is_changed,
    '{{ var("since") }}' as since,
from changed
group by record_key
