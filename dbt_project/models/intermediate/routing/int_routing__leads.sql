{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key='person_id',
    indexes=[{'columns': ['person_id']}, {'columns': ['lead_id']}],
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
-- Leads as routing gets them: what the policy looks at of each, and nothing else, so that nothing else can move anybody. Of everybody the
-- turns of those who were erased are among them.
{% set trial = trial_of('routing') %}
{% set lines = policy_rows(
    'routing_versions', 'distinct product_line_field as field', 'is_active and product_line_field is not null', 'all'
) %}
{% set languages = policy_rows(
    'routing_versions', 'distinct language_field as field', 'is_active and language_field is not null', 'all'
) %}

with mqls as (
    select * from {{ ref('fct_mqls') }}
    where {{ where_touched() }}
),

led as (
    select distinct person_id from mqls
),

people as (
    select * from {{ ref('dim_people') }}
    where {{ where_touched() }}
),

accounts as (
    select * from {{ ref('int_accounts__grouped') }}
),

versions as (
    select
        *,
        string_split(attributes, ',') as looked_at,
    from {{ source('raw_policies', 'routing_versions') }}
    where is_active
),

connected as (
    select * from {{ ref('int_reps__connected') }}
),

reps as (
    select
        rep_id,
        unnest(from_json(source_records, '["VARCHAR"]')) as source_record,
    from {{ ref('dim_reps') }}
),

records_ever as (
    select * from {{ ref('entity_map') }}
    where {{ where_touched() if is_incremental() else 'person_id is not null' }}
    {{ looked_up() }}
),

records as (
    select
        records_ever.person_id,
        records_ever.record_key,
    from records_ever
    inner join led on records_ever.person_id = led.person_id
    where records_ever.known_to is null and records_ever.record_type is distinct from 'visitor'
),

contact_versions as (
    select
        record_key,
        system,
        owner_id,
        {% if lines or languages %}
            custom,
        {% endif %}
        is_deleted,
        version_order,
        -- What was heard when the CRM was connected was so before.
        case
            when received_at <= (select connected.connected_until from connected) then occurred_at
            else {{ known_since() }}
        end as known_at,
    from {{ ref('int_contacts__versions') }}
    {% if is_incremental() %}
        where record_key in (select records.record_key from records)
    {% endif %}
    {{ looked_up() }}
),

-- Of the newest version of each record that was known when the lead was: whose the person is in the CRM, and what is asked for.
records_then as (
    select
        mqls.mql_id,
        contact_versions.record_key,
        contact_versions.system,
        arg_max_null(
            case when not contact_versions.is_deleted then contact_versions.owner_id end, contact_versions.version_order
        ) as owner_id,
        {% for row in lines %}
        arg_max(
            json_extract_string(cast(contact_versions.custom as json), '$."{{ row["field"] }}"'), contact_versions.version_order
        ) as line_{{ loop.index }},
        {% endfor %}
        {% for row in languages %}
        arg_max(
            json_extract_string(cast(contact_versions.custom as json), '$."{{ row["field"] }}"'), contact_versions.version_order
        ) as language_{{ loop.index }},
        {% endfor %}
        max(contact_versions.version_order) as version_order,
    from mqls
    inner join records on mqls.person_id = records.person_id
    inner join contact_versions on records.record_key = contact_versions.record_key
    where contact_versions.known_at <= mqls.known_at
    group by mqls.mql_id, contact_versions.record_key, contact_versions.system
),

known_then as (
    select
        records_then.mql_id,
        -- The CRM is where sales works; the MAP has copies.
        arg_max(reps.rep_id, row(records_then.system = 'salesforce', records_then.version_order, records_then.record_key)) as rep_id,
    {% for row in lines %}
        arg_max(records_then.line_{{ loop.index }}, row(records_then.version_order, records_then.record_key)) as line_{{ loop.index }},
        {% endfor %}
    {% for row in languages %}
        arg_max(records_then.language_{{ loop.index }}, row(records_then.version_order, records_then.record_key)) as language_{{ loop.index }},
        {% endfor %}
    from records_then
    left join reps on records_then.system || ':' || records_then.owner_id = reps.source_record
    group by records_then.mql_id
),

written as (
    select
        owners_written.person_id,
        owners_written.task_key,
        arg_max(reps.rep_id, owners_written.planned_at) as rep_id,
        max(owners_written.planned_at) as planned_at,
    from {{ ref('int_salesforce__owners_written') }} as owners_written
    inner join reps on 'salesforce:' || owners_written.owner_id = reps.source_record
    where {{ where_touched() }}
    group by owners_written.person_id, owners_written.task_key
),

numbers as (
    select unnest(range(1, 11)) as number
),

-- What the CRM confirmed stands: which of the decisions about the lead it was is told by the name of the task.
stood_by as (
    select
        mqls.mql_id,
        list({
            'number': numbers.number,
            'rep_id': written.rep_id,
            'planned_us': epoch_us(written.planned_at)
        } order by numbers.number) as written,
    from mqls
    inner join written on mqls.person_id = written.person_id
    cross join numbers
    where
        written.task_key = {{ task_key('mqls.person_id', 'mqls.crossing_number', 'numbers.number') }}
        -- Who asks what would have been asks what these rules would have decided.
        and not {{ var('routes_anew') }}
    group by mqls.mql_id
),

placed as (
    select
        mqls.mql_id as lead_id,
        mqls.person_id,
        mqls.account_id,
        versions.version as routing_version,
        list_contains(versions.looked_at, 'account_owner') as asks_account_owner,
        mqls.crossing_number,
        mqls.grade,
        upper(people.country) as country,
        case when list_contains(versions.looked_at, 'region') then people.region end as region,
        case when list_contains(versions.looked_at, 'postal_code') then people.postal_code end as postal_code,
        case when list_contains(versions.looked_at, 'industry') then accounts.industry end as industry,
        case when list_contains(versions.looked_at, 'employee_count') then accounts.employee_count end as employee_count,
        case versions.product_line_field
            {% for row in lines %}
            when '{{ row["field"] }}' then known_then.line_{{ loop.index }}
            {% else %}
            when '' then cast(null as varchar)
            {% endfor %}
        end as product_line,
        case versions.language_field
            {% for row in languages %}
            when '{{ row["field"] }}' then known_then.language_{{ loop.index }}
            {% else %}
            when '' then cast(null as varchar)
            {% endfor %}
        end as language,
        case when list_contains(versions.looked_at, 'relationship') then known_then.rep_id end as relationship_rep_id,
        stood_by.written,
        false as is_erased,
        cast(null as varchar) as told_pool,
        cast(null as varchar) as told_rep_id,
        mqls.reached_at,
        mqls.known_at,
    from mqls
    inner join people on mqls.person_id = people.person_id
    {% if trial %}
    -- Each version deals its own turns, to the people it decides for.
    inner join versions on versions.version = {{ version_for('routing', trial, 'mqls.person_id', 'people.email') }}
    {% else %}
    cross join versions
    {% endif %}
    left join accounts on mqls.account_id = accounts.account_id
    left join known_then on mqls.mql_id = known_then.mql_id
    left join stood_by on mqls.mql_id = stood_by.mql_id
    {% if not is_incremental() %}
    union all by name
    select
        turns.lead_id,
        turns.lead_id as person_id,
        versions.version as routing_version,
        false as asks_account_owner,
        upper(turns.country) as country,
        true as is_erased,
        turns.pool as told_pool,
        turns.rep_id as told_rep_id,
        turns.reached_at,
        turns.known_at,
    from {{ ref('stg_events__erased_turns') }} as turns
    {% if trial %}
        inner join versions on versions.version = coalesce(turns.routing_version, '{{ trial["active_version"] }}')
        {% else %}
    cross join versions
    {% endif %}
    {% endif %}
)

select
    *,
    -- Of another one, or of one known at another time, everything behind it would be dealt anew.
    {{ hash64([
        'lead_id', 'routing_version', 'crossing_number', 'coalesce(grade, \'\')', 'coalesce(country, \'\')',
        'coalesce(region, \'\')', 'coalesce(postal_code, \'\')', 'coalesce(industry, \'\')', 'coalesce(cast(employee_count as varchar), \'\')',
        'coalesce(product_line, \'\')', 'coalesce(language, \'\')', 'coalesce(case when asks_account_owner then account_id end, \'\')',
        'coalesce(relationship_rep_id, \'\')', 'epoch_us(reached_at)', 'epoch_us(known_at)',
    ]) }} as facts_hash,
from placed
