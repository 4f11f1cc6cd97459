-- depends_on: {{ source('raw_policies', 'accounts_choices') }}
{% set stated_columns = [
    'name', 'domain', 'industry', 'employee_count', 'annual_revenue_usd', 'country', 'region', 'owner_id', 'parent_id', 'linked_record_ids',
    'provider',
] %}

with unioned as (
    {{ union_by_name([
        ref('stg_events__accounts'),
        ref('stg_hubspot__companies'),
        ref('stg_salesforce__accounts'),
        ref('stg_enrichment__companies'),
    ]) }}
),

versions as (
    select
        *,
        row(occurred_at, received_at, coalesce(seq, 0)) as version_order,
    from unioned
    where occurred_at <= {{ as_of() }}
),

newest as (
    select
        system,
        record_id,
        {% for column in stated_columns %}
        {{ latest_value(column) }},
        {% endfor %}
        arg_max(is_deleted, version_order) as is_deleted,
        max(occurred_at) as occurred_at,
        min(received_at) as first_received_at,
    from versions
    group by system, record_id
),

hosted as (
    select
        {{ record_key('system', "'account'", 'record_id') }} as record_key,
        * exclude (domain, provider),
        coalesce(provider, system) as value_source,
        {{ host_of('domain') }} as domain,
        {{ name_and_country('name', 'country') }} as name_key,
    from newest
),

-- Everybody's mailbox is nobody's company.
keyed as (
    select
        *,
        {{ company_domain('domain') }} as company_domain,
    from hosted
)

select
    keyed.*,
    -- A subsidiary that shares its parent's domain is an account of its own, or there would be no hierarchy between them.
    coalesce(parents.company_domain = keyed.company_domain and parents.record_id <> keyed.record_id, false) as is_subsidiary,
from keyed
left join keyed as parents on keyed.system = parents.system and keyed.parent_id = parents.record_id
