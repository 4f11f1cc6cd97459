{{ config(
    materialized='incremental',
    incremental_strategy='replace_changed_records',
    unique_key='record_key',
    indexes=[{'columns': ['record_key']}, {'columns': ['identifier_key']}],
) }}

-- depends_on: {{ ref('int_batch__changed_records') }}
-- depends_on: {{ ref('int_contacts__versions') }}
-- depends_on: {{ ref('int_identity__merges_unioned') }}
-- depends_on: {{ source('raw_policies', 'identity_blocked_values') }}
-- depends_on: {{ source('raw_policies', 'identity_identifiers') }}
-- depends_on: {{ source('raw_policies', 'identity_shared_mailboxes') }}
-- What links whom changes for few: whoever is not here carries what int_identity__identifiers says since it is known.
{% set of_batch = 'select record_key from ' ~ ref('int_batch__changed_records') ~ ' where is_changed' %}
{% set records = of_batch if is_incremental() else none %}

with records as (
    select * from {{ ref('int_identity__records') }}
    {{ of_changed_records() }}
),

words as (
    {{ directives_over_time(records) }}
),

survivors as (
    select distinct surviving_key as record_key
    from words
    where is_merged and surviving_key in (select records.record_key from records)
),

states as (
    {{ contact_states(naming_columns(), records) }}
),

contacts as (
    select * from states
    where state_count > 1 or record_key in (select survivors.record_key from survivors)
),

affected as (
    select record_key from contacts
    union
    select record_key from survivors
),

normal_forms as (
    select * from {{ ref('int_identifiers__normalized') }}
    {% if is_incremental() %}
        where raw_value in (select unnest([contacts.email, contacts.phone]) from contacts)
    {% endif %}
    {{ looked_up() }}
),

stated_ids as (
    select
        record_key,
        unnest(from_json(external_ids, '["JSON"]')) as stated,
        known_from,
        known_to,
    from contacts
    where external_ids is not null
),

carried as (
    select
        record_key,
        'external_id' as identifier_type,
        system || ':' || record_id as identifier_value,
        first_received_at as known_from,
        cast(null as timestamptz) as known_to,
    from records
    where record_key in (select affected.record_key from affected)
    union all
    select
        contacts.record_key,
        'email' as identifier_type,
        normal_forms.linking_value as identifier_value,
        contacts.known_from,
        contacts.known_to,
    from contacts
    inner join normal_forms on contacts.email = normal_forms.raw_value and normal_forms.identifier_type = 'email'
    union all
    select
        contacts.record_key,
        'phone' as identifier_type,
        normal_forms.linking_value as identifier_value,
        contacts.known_from,
        contacts.known_to,
    from contacts
    inner join normal_forms
        on
            contacts.phone = normal_forms.raw_value
            and normal_forms.identifier_type = 'phone'
            and coalesce(contacts.country, '') = normal_forms.region
    union all
    select
        record_key,
        'external_id' as identifier_type,
        json_extract_string(stated, '$.system') || ':' || json_extract_string(stated, '$.record_id') as identifier_value,
        known_from,
        known_to,
    from stated_ids
    union all
    select
        contacts.record_key,
        'external_id' as identifier_type,
        records.system || ':' || contacts.converted_contact_id as identifier_value,
        contacts.known_from,
        contacts.known_to,
    from contacts
    inner join records on contacts.record_key = records.record_key
    where contacts.converted_contact_id is not null
    union all
    select
        surviving_key as record_key,
        'external_id' as identifier_type,
        {{ named_system('system', 'merged_id') }} || ':' || {{ named_id('system', 'merged_id') }} as identifier_value,
        known_from,
        known_to,
    from words
    where is_merged and surviving_key in (select survivors.record_key from survivors)
),

-- Said by two at once, or again at once, is said once: from the first until nobody says it.
reached as (
    select
        *,
        max(coalesce(known_to, 'infinity')) over (
            partition by record_key, identifier_type, identifier_value
            order by known_from, known_to
            rows between unbounded preceding and 1 preceding
        ) as reached_at,
    from carried
),

runs as (
    select
        *,
        count(*) filter (where coalesce(reached_at < known_from, true)) over (
            partition by record_key, identifier_type, identifier_value
            order by known_from, known_to
            rows between unbounded preceding and current row
        ) as run,
    from reached
),

periods as (
    select
        record_key,
        identifier_type,
        identifier_value,
        min(known_from) as known_from,
        nullif(max(coalesce(known_to, 'infinity')), 'infinity') as known_to,
    from runs
    group by record_key, identifier_type, identifier_value, run
),

{{ judged_identifiers('periods', 'normal_forms') }}

select
    record_key,
    identifier_type,
    identifier_value,
    {{ hash64(['identifier_type', 'identifier_value']) }} as identifier_key,
    max_records,
    known_from,
    known_to,
from judged
where refusal is null
