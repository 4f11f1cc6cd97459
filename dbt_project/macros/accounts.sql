{# Names the active accounts policy lists under a choice, in its order. Read while the model is rendered: what the policy leaves out is no
   part of the query. #}
{% macro account_choices(choice) %}
    {{ return(policy_rows('accounts_choices', 'name', "is_active and choice = '" ~ choice ~ "'", 'priority') | map(attribute='name') | list) }}
{% endmacro %}

{# Host of a domain as people and systems write it: https://www.Acme.de/shop is acme.de. #}
{% macro host_of(value) -%}
    nullif(regexp_replace(lower(trim({{ value }})), '^([a-z][a-z0-9+.-]*://)?(www\.)?|[/?#:].*$', '', 'g'), '')
{%- endmacro %}

{# The registrable domain of a host, null where it is no company's: that of a free or disposable mailbox, or one the policy blocks. #}
{% macro company_domain(host) -%}
    {%- set blocked = account_choices('blocked_domain') -%}
    case
        when domain_kind({{ host }}) = 'business'
        {%- if blocked %}
            and registrable_domain({{ host }}) not in ('{{ blocked | join("', '") }}')
        {%- endif %}
            then registrable_domain({{ host }})
    end
{%- endmacro %}

{# Name of a company without its legal form, and its country: one without the other is no evidence. #}
{% macro name_and_country(name, country) -%}
    company_key({{ name }}) || '|' || upper(trim({{ country }}))
{%- endmacro %}

{# Finds the account records that are one company into `accounts_solved` (node, root). Strong evidence first; a name joins only records
   without a domain, and only to the one company of that name, so that no name ever joins two companies with domains. #}
{% macro resolve_accounts() %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% set records = ref('int_accounts__records') %}
    {% set joins = account_choices('join') %}
    {% set solved = this.schema ~ '.accounts_solved' %}
    {% set links = [] %}
    {% if 'system_id' in joins %}
        {% do links.append(
            'select linked.record_key as a, other.record_key as b from (select record_key, system, unnest(linked_record_ids) as other_id from '
            ~ records ~ ') as linked inner join ' ~ records ~ ' as other on linked.system = other.system and linked.other_id = other.record_id'
        ) %}
    {% endif %}
    {% if 'domain' in joins %}
        {% do links.append(
            'select record_key as a, min(record_key) over (partition by company_domain) as b from ' ~ records
            ~ ' where company_domain is not null and not is_subsidiary'
        ) %}
    {% endif %}
    {% set strong = (links or ['select record_key as a, record_key as b from ' ~ records ~ ' where false']) | join(' union all ') %}
    {% set nodes = 'select record_key as node from ' ~ records %}
    {% do solve_components(nodes, strong, solved) %}
    {% if 'name_and_country' in joins %}
        {% set named = this.schema ~ '.accounts_named' %}
        {% do run_query(
            'create or replace table ' ~ named ~ ' as with components as ('
            ~ 'select solved.root, records.name_key, records.is_deleted, '
            ~ 'bool_or(records.company_domain is not null) over (partition by solved.root) as has_domain from ' ~ records
            ~ ' as records inner join ' ~ solved ~ ' as solved on records.record_key = solved.node), '
            ~ 'names as (select name_key, count(distinct root) filter (has_domain) as with_domain, min(root) filter (has_domain) as company, '
            ~ 'min(root) as first_root from components where name_key is not null and not is_deleted group by name_key), '
            ~ 'told as (select distinct components.root, case when names.with_domain = 0 then names.first_root else names.company end as target '
            ~ 'from components inner join names on components.name_key = names.name_key '
            ~ 'where not components.has_domain and not components.is_deleted and names.with_domain <= 1) '
            ~ 'select root as a, min(target) as b from told where target <> root group by root having count(distinct target) = 1'
        ) %}
        {# The names' links are between components, which their roots stand for. #}
        {% do solve_components(nodes, strong ~ ' union all select a, b from ' ~ named, solved) %}
        {% do run_query('drop table if exists ' ~ named) %}
    {% endif %}
{% endmacro %}

{% macro drop_accounts_solved() %}
    {% if execute %}
        {% do run_query('drop table if exists ' ~ this.schema ~ '.accounts_solved') %}
    {% endif %}
{% endmacro %}

{# People between several accounts found by equally strong evidence, and these accounts: whoever changes what the ties are broken by asks it
   for whom to choose anew. Kept beside the people's accounts. #}
{% macro accounts_contested() -%}
    intermediate.accounts_contested
{%- endmacro %}

{% macro keep_accounts_contested() %}
    {% if not execute %}{{ return('') }}{% endif %}
    {%- set contested -%}
        select
            person_id,
            unnest(contested_account_ids) as account_id
        from {{ this }}
    {%- endset -%}
    {% if should_full_refresh() or not load_relation(api.Relation.create(schema='intermediate', identifier='accounts_contested', database=this.database)) %}
        create or replace table {{ accounts_contested() }} as {{ contested }};
        create index accounts_contested_account on {{ accounts_contested() }} (account_id);
        create index accounts_contested_person on {{ accounts_contested() }} (person_id)
    {% else %}
        delete from {{ accounts_contested() }} where person_id in ({{ people_touched_by_batch() }});
        insert into {{ accounts_contested() }}
        {{ contested }}
        where person_id in ({{ people_touched_by_batch() }})
    {% endif %}
{% endmacro %}

{# Opportunities a batch says something of. #}
{% macro opportunities_stated() -%}
    {% for opportunities in ['stg_events__opportunities', 'stg_hubspot__deals', 'stg_salesforce__opportunities'] %}
    select
        system,
        record_id,
    from {{ ref(opportunities) }}
    where {{ is_new() }} or {{ has_come('occurred_at') }}
    {% if not loop.last %}union{% endif %}
    {% endfor %}
{%- endmacro %}

{# How a tie between accounts is broken: the value of each criterion, the greater the better. #}
{% macro tie_break_value(criterion) -%}
    {{ return({
        'trusted_record': '-coalesce(trust, 1000)',
        'newest_record': 'coalesce(epoch_us(stated_at), 0)',
        'open_opportunity': 'cast(has_open_opportunity as bigint)',
        'customer': 'cast(is_customer as bigint)',
        'owner': 'cast(has_owner as bigint)',
        'recent_change': 'coalesce(epoch_us(changed_at), 0)',
        'contact_count': 'coalesce(contact_count, 0)',
        'oldest': '-epoch_us(first_received_at)',
    }[criterion]) }}
{%- endmacro %}
