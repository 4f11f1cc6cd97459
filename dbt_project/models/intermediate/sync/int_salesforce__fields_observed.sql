{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='record_id',
    indexes=[{'columns': ['record_id']}],
) }}

-- What Salesforce says a lead's fields are, as far as we know: the newest poll, overlaid by what later confirmed writes read back.
{% set fields = {
    'Email': 'email', 'Phone': 'phone', 'FirstName': 'first_name', 'LastName': 'last_name', 'Company': 'company', 'Title': 'job_title',
    'LeadSource': 'original_source', 'OwnerId': 'owner_id', 'Handoff_Person_Id__c': 'handoff_person_id',
    'Handoff_Score__c': 'handoff_score', 'Handoff_Mql_At__c': 'handoff_mql_at', 'Handoff_Reasons__c': 'handoff_reasons',
} %}

with leads as (
    select *
    from {{ ref('stg_salesforce__leads') }}
    {% if is_incremental() %}
        where {{ is_new() }}
    {% endif %}
    qualify row_number() over (partition by record_id order by occurred_at desc, received_at desc) = 1
),

receipts as (
    select * from {{ ref('stg_events__receipts') }}
    where
        system = 'salesforce'
        and object = 'Lead'
        and status in ('confirmed', 'superseded')
        and record_id is not null
        and {{ is_new() if is_incremental() else 'true' }}
),

polled as (
    {% for field, column in fields.items() %}
    select
        record_id,
        '{{ field }}' as field,
        {% if column == 'handoff_mql_at' -%}
        {{ salesforce_instant(column) }}
        {%- else -%}
        cast({{ column }} as varchar)
        {%- endif %} as value,
        occurred_at as observed_at,
        false as is_ours,
    from leads
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

read_back as (
    select
        record_id,
        unnest(json_keys(written)) as field,
        written,
        confirmed_at,
        status,
    from receipts
    where written is not null and confirmed_at is not null
),

written as (
    select
        record_id,
        field,
        case
            when field = 'Handoff_Mql_At__c'
                then {{ salesforce_instant(instant_of("json_extract_string(written, '$.' || field)")) }}
            when field = 'Handoff_Score__c'
                then cast(try_cast(json_extract_string(written, '$.' || field) as double) as varchar)
            else json_extract_string(written, '$.' || field)
        end as value,
        confirmed_at as observed_at,
        status = 'confirmed' as is_ours,
    from read_back
),

observed as (
    select * from polled
    union all
    select * from written
),

-- What is known already is an observation like the others: the newest of all counts, in whatever order they come.
unioned as (
    select * from observed
    {% if is_incremental() %}
        union all
        select
            record_id,
            field,
            observed_value as value,
            observed_at,
            false as is_ours,
        from {{ this }}
        where record_id in (select record_id from observed)
        union all
        select
            record_id,
            field,
            last_written_value as value,
            last_written_at as observed_at,
            true as is_ours,
        from {{ this }}
        where was_written and record_id in (select record_id from observed)
    {% endif %}
)

select
    record_id,
    field,
    arg_max_null(value, row(observed_at, is_ours, value)) as observed_value,
    arg_max_null(value, row(observed_at, value)) filter (where is_ours) as last_written_value,
    bool_or(is_ours) as was_written,
    max(observed_at) as observed_at,
    max(observed_at) filter (where is_ours) as last_written_at,
from unioned
group by record_id, field
