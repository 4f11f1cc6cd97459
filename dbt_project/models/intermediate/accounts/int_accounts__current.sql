{{ config(pre_hook="{{ resolve_accounts() }}", post_hook="{{ drop_accounts_solved() }}") }}

-- depends_on: {{ source('raw_policies', 'accounts_choices') }}
with records as (
    select * from {{ ref('int_accounts__records') }}
),

solved as (
    select * from {{ this.schema }}.accounts_solved
),

placed as (
    select
        records.*,
        solved.root,
    from records
    inner join solved on records.record_key = solved.node
)

select
    -- The first record received names the account: that survives every later one, and rebuilds.
    first_value({{ guid(['system', "'account'", 'record_id']) }}) over (
        partition by root
        order by first_received_at, system, record_id
    ) as account_id,
    * exclude (root), -- noqa: AM04
    case
        when count(*) over (partition by root) = 1 then '[]'
        else cast(
            to_json(
                list_filter(
                    [
                        case
                            when not is_subsidiary and company_domain is not null
                                then { 'identifier_type': 'domain', 'identifier_value': company_domain }
                        end,
                        case
                            when company_domain is null and name_key is not null
                                then { 'identifier_type': 'name_and_country', 'identifier_value': name_key }
                        end,
                        case
                            when len(linked_record_ids) > 0
                                then { 'identifier_type': 'system_id', 'identifier_value': array_to_string(linked_record_ids, ',') }
                        end
                    ],
                    lambda told: told is not null
                )
            ) as varchar
        )
    end as evidence,
from placed
