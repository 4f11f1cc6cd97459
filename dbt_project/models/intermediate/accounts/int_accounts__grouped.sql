{% set firmographics = ['name', 'domain', 'industry', 'employee_count', 'annual_revenue_usd', 'country', 'region'] %}

-- What is known of a company, over all the records of it, each value from the most trusted source that has one. Apart from dim_accounts,
-- which counts people: a decision needs no such count.
with accounts as (
    select * from {{ ref('int_accounts__current') }}
),

priorities as (
    select * from {{ source('raw_policies', 'accounts_choices') }}
    where is_active and choice = 'source'
),

opportunities as (
    select * from {{ ref('int_opportunities__current') }}
),

ranked as (
    select
        accounts.*,
        accounts.system <> 'enrichment' as is_own,
        row(
            accounts.is_deleted,
            coalesce(priorities.priority, case when accounts.system = 'enrichment' then 2000 else 1000 end),
            -epoch_us(accounts.occurred_at),
            accounts.system,
            accounts.record_id
        ) as preference,
    from accounts
    left join priorities on accounts.value_source = priorities.name
),

companies as (
    select
        account_id,
        {% for column in firmographics %}
        {{ preferred_value(column) }},
        arg_min(value_source, preference) filter (where {{ column }} is not null) as {{ column }}_source,
        arg_min(occurred_at, preference) filter (where {{ column }} is not null) as {{ column }}_at,
        {% endfor %}
        coalesce(bool_or(is_own and not is_deleted and owner_id is not null), false) as has_owner,
        coalesce(bool_or(is_own), false) as has_own_record,
        bool_and(is_deleted) as is_deleted,
        count(*) as record_count,
        max(occurred_at) as record_changed_at,
        max(occurred_at) filter (where not is_own) as enriched_at,
        min(first_received_at) as first_received_at,
    from ranked
    group by account_id
),

selling as (
    select
        accounts.account_id,
        bool_or(opportunities.closed_at is null and opportunities.is_won is distinct from true) as has_open_opportunity,
        bool_or(coalesce(opportunities.is_won, false)) as is_customer,
        max(opportunities.last_occurred_at) as opportunity_changed_at,
    from opportunities
    inner join accounts on opportunities.system = accounts.system and opportunities.account_record_id = accounts.record_id
    where not opportunities.is_deleted
    group by accounts.account_id
)

select
    companies.account_id,
    {% for column in firmographics %}
    companies.{{ column }},
    {% endfor %}
    cast(
        to_json(
            map_from_entries(
                list_filter(
                    [
                        {% for column in firmographics %}
                        case
                            when companies.{{ column }} is not null
                                then {
                                    'key': '{{ column }}',
                                    'value': { 'source': companies.{{ column }}_source, 'stated_at': companies.{{ column }}_at }
                                }
                        end{{ ',' if not loop.last }}
                        {% endfor %}
                    ],
                    lambda told: told is not null
                )
            )
        ) as varchar
    ) as value_sources,
    coalesce(selling.has_open_opportunity, false) as has_open_opportunity,
    coalesce(selling.is_customer, false) as is_customer,
    companies.has_owner,
    companies.has_own_record,
    companies.is_deleted,
    companies.record_count,
    greatest(companies.record_changed_at, selling.opportunity_changed_at) as changed_at,
    companies.enriched_at,
    companies.first_received_at,
from companies
left join selling on companies.account_id = selling.account_id
