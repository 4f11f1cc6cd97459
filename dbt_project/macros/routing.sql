{# Key of the follow-up task of a decision: the person, the number of their crossing and, from the second decision about it on, that one's number;
   the same under every version of the policies, or a new one would make every rep's old calls anew. #}
{% macro task_key(person_id, crossing_number, number) -%}
    case
        when {{ number }} = 1 then {{ guid(["'task'", person_id, crossing_number]) }}
        else {{ guid(["'task'", person_id, crossing_number, number]) }}
    end
{%- endmacro %}

{# Stages by which sales says what it thinks of a lead. #}
{% macro stages_of_answers() -%}
    ('accepted', 'rejected', 'recycled', 'disqualified', 'sql', 'opportunity', 'customer')
{%- endmacro %}

{# Tables beside fct_assignments that say how far leads were dealt, so that a batch goes on from there: written in its transaction, and rebuilt with
   it. `shares`: per pool and rep; `loads`: per rep; `leads`: how each lead stands; `waits`: those of them that time alone moves; `clock`: until
   when everything known was dealt, and to which reps. #}
{% macro routing_kept(part) -%}
    intermediate.routing_{{ part }}
{%- endmacro %}

{# What the pass over leads of this run gave, for the model to select from. #}
{% macro leads_dealt() -%}
    intermediate.routing_dealt
{%- endmacro %}

{# Timers run up to here: what was received before it has landed by then, or everything is dealt anew when it does. #}
{% macro timers_until() -%}
    epoch_us({{ as_of() }} - interval 1 minute)
{%- endmacro %}

{# Whether any version that decides asks who owns a lead's account. #}
{% macro asks_account_owners() %}
    {{ return(policy_rows('routing_versions', 'version', "is_active and list_contains(string_split(attributes, ','), 'account_owner')", 'version')) }}
{% endmacro %}

{# Leads as they are dealt, each with who owned its account in the CRM when it became known. #}
{% macro leads_with_owners(condition) -%}
    (
        select
            leads.*,
            {{ 'case when leads.asks_account_owner then owners.rep_id end' if asks_account_owners() else 'cast(null as varchar)' }}
                as account_owner_rep_id,
        from (select * from {{ ref('int_routing__leads') }} {{ condition }}) as leads
        {% if asks_account_owners() %}
            asof left join {{ ref('int_accounts__owners') }} as owners
                on leads.account_id = owners.account_id and leads.known_at >= owners.known_from
        {% endif %}
    )
{%- endmacro %}

{# Reps, absences and owners of accounts as they were known until an instant, in microseconds: other ones, and everything would be dealt differently. #}
{% macro directory_dealt_to(through) %}
    select coalesce(sum(cast(hash(told) as hugeint)), 0)
    from (
        select concat_ws('|', 'rep', rep_id, valid_from, email, name, time_zone, working_hours, working_days, territories, product_lines,
            capacity, weight, is_active) as told
        from {{ ref('int_reps__versions') }}
        where valid_from is null or epoch_us(valid_from) <= {{ through }}
        union all
        select concat_ws('|', 'absence', rep_id, starts_at, ends_at, known_from, case when epoch_us(known_to) <= {{ through }} then known_to end)
            as told
        from {{ ref('int_reps__absences') }}
        where epoch_us(known_from) <= {{ through }}
        {% if asks_account_owners() %}
        union all
        select concat_ws('|', 'account', account_id, rep_id, known_from) as told
        from {{ ref('int_accounts__owners') }}
        where epoch_us(known_from) <= {{ through }}
        {% endif %}
    ) as directory
{% endmacro %}

{# What was heard of people until an instant, one number each. #}
{% macro signals_heard(through, people) %}
    select
        person_id,
        sum(cast(hash(concat_ws('|', kind, rep_id, epoch_us(occurred_at), epoch_us(known_at))) as hugeint)) as heard,
    from {{ ref('int_routing__signals') }}
    where epoch_us(known_at) <= {{ through }} and {{ people }}
    group by person_id
{% endmacro %}

{# Whether the batch only goes on from what was dealt. Something that was known before the last thing dealt, a lead that changed or went, or other
   reps then, and the whole is dealt anew: the same as a rebuild would give, at a rebuild's price. #}
{% macro continues_the_deal() %}
    {% if not execute or not is_incremental() %}{{ return(false) }}{% endif %}
    {% set found = run_query("select count(*) from duckdb_tables() where schema_name || '.' || table_name = '" ~ routing_kept('clock') ~ "'") %}
    {% if found.columns[0].values()[0] == 0 %}{{ return(false) }}{% endif %}
    {% set through = run_query('select max(through_us) from ' ~ routing_kept('clock')).columns[0].values()[0] %}
    {% if through is none %}{{ return(false) }}{% endif %}
    {% set disturbed %}
        with fresh as materialized (
            select
                lead_id,
                facts_hash,
                epoch_us(known_at) as known_us,
            from {{ ref('int_routing__leads') }}
            where {{ where_touched() }}
        ),

        kept as materialized (
            select
                lead_id,
                person_id,
                facts_hash,
                heard,
            from {{ routing_kept('leads') }}
            where {{ where_touched() }}
        ),

        heard as materialized (
            {{ signals_heard(through, where_touched()) }}
        )

        select 1 as disturbed
        from kept
        left join fresh on kept.lead_id = fresh.lead_id
        where fresh.facts_hash is distinct from kept.facts_hash
        union all
        select 1 as disturbed
        from fresh
        where known_us <= {{ through }} and lead_id not in (select kept.lead_id from kept)
        union all
        select 1 as disturbed
        from kept
        left join heard on kept.person_id = heard.person_id
        where coalesce(heard.heard, 0) <> kept.heard
        union all
        select 1 as disturbed from {{ routing_kept('clock') }}
        where directory <> ({{ directory_dealt_to(through) }})
    {% endset %}
    {{ return(not has_rows(disturbed)) }}
{% endmacro %}

{# Rows of a select as one list of structs, in no order. #}
{% macro as_list(columns, relation) -%}
    (select coalesce(list({
        {%- for name, expression in columns.items() %}
        '{{ name }}': {{ expression }}{{ ',' if not loop.last }}
        {%- endfor %}
    }), []) from {{ relation }})
{%- endmacro %}

{# Deals the leads of this run, before the model: those the batch adds behind the others, or all there are. #}
{% macro deal_leads() %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% set continues = continues_the_deal() %}
    {# Whatever may be due before the last thing that became known is dealt. #}
    {% set people %}
        (
            select person_id from ({{ people_touched_by_batch() }})
            union
            select person_id from {{ routing_kept('waits') }}
            where
                timer_us is null
                or timer_us <= greatest(
                    epoch_us({{ as_of() }}),
                    (select max(epoch_us(known_at)) from {{ ref('int_routing__leads') }} where {{ where_touched() }}),
                    (select max(epoch_us(known_at)) from {{ ref('int_routing__signals') }} where {{ where_touched() }}),
                    (select max(epoch_us(valid_from)) from {{ ref('int_reps__versions') }})
                )
        )
    {% endset %}
    {% set lead_columns = {
        'lead_id': 'lead_id', 'person_id': 'person_id', 'routing_version': 'routing_version', 'grade': 'grade', 'country': 'country',
        'region': 'region', 'postal_code': 'postal_code', 'industry': 'industry', 'employee_count': 'cast(employee_count as bigint)',
        'product_line': 'product_line', 'language': 'language', 'account_owner_rep_id': 'account_owner_rep_id',
        'relationship_rep_id': 'relationship_rep_id', 'written': 'written', 'is_erased': 'is_erased', 'told_pool': 'told_pool',
        'told_rep_id': 'told_rep_id', 'reached_us': 'epoch_us(reached_at)', 'known_us': 'epoch_us(known_at)', 'facts_hash': 'facts_hash',
    } %}
    {% set dealing %}
        create or replace table {{ leads_dealt() }} as
        select
            {{ continues }} as is_continued,
            route_leads(
                {{ as_list({'version': 'version', 'document': 'document'}, source('raw_policies', 'routing_versions') ~ ' where is_active') }},
                {{ as_list({
                    'rep_id': 'rep_id', 'valid_from_us': 'epoch_us(valid_from)', 'name': 'name', 'email': 'email', 'is_active': 'is_active',
                    'weight': 'cast(weight as double)', 'territories': 'territories', 'product_lines': 'product_lines',
                    'capacity': 'cast(capacity as bigint)', 'time_zone': 'time_zone', 'working_hours': 'working_hours',
                    'working_days': 'working_days',
                }, ref('int_reps__versions')) }},
                {{ as_list({
                    'rep_id': 'rep_id', 'starts_us': 'epoch_us(starts_at)', 'ends_us': 'epoch_us(ends_at)', 'known_from_us': 'epoch_us(known_from)',
                    'known_to_us': 'epoch_us(known_to)',
                }, ref('int_reps__absences')) }},
                {{ as_list(lead_columns, leads_with_owners(
                    'where person_id in (select person_id from (' ~ people_touched_by_batch() ~ ')) and lead_id not in (select lead_id from '
                    ~ routing_kept('leads') ~ ' where person_id in (select person_id from (' ~ people_touched_by_batch() ~ ')))'
                    if continues else ''
                )) }},
                {{ as_list({
                    'person_id': 'person_id', 'kind': 'kind', 'rep_id': 'rep_id', 'occurred_us': 'epoch_us(occurred_at)',
                    'known_us': 'epoch_us(known_at)',
                }, ref('int_routing__signals') ~ (' where person_id in (select person_id from (' ~ people_touched_by_batch() ~ '))' if continues else '')) }},
                {% if continues %}
                {{ as_list({
                    'routing_version': 'routing_version', 'pool': 'pool', 'rep_id': 'rep_id', 'entitled': 'entitled', 'had': 'had',
                    'turn_count': 'turn_count',
                }, routing_kept('shares')) }},
                {{ as_list({
                    'rep_id': 'rep_id', 'day_begins_us': 'day_begins_us', 'day_ends_us': 'day_ends_us', 'day_count': 'day_count',
                    'open_count': 'open_count',
                }, routing_kept('loads')) }},
                {{ as_list(kept_lead_columns(), routing_kept('leads') ~ ' where person_id in ' ~ people) }},
                (select through_us from {{ routing_kept('clock') }}),
                {% else %}
                [], [], [], null,
                {% endif %}
                {{ timers_until() }}
            ) as dealt
    {% endset %}
    {% do run_query(dealing) %}
{% endmacro %}

{% macro kept_lead_columns() %}
    {% set columns = {} %}
    {% for name in [
        'lead_id', 'person_id', 'routing_version', 'known_us', 'reached_us', 'facts_hash', 'territory', 'pool', 'has_turn', 'rep_id', 'number',
        'cause', 'sla_minutes', 'assigned_us', 'due_us', 'timer_us', 'reassigned', 'tried', 'is_answered', 'is_credited',
        'is_waiting', 'path',
    ] %}
        {% do columns.update({name: name}) %}
    {% endfor %}
    {{ return(columns) }}
{% endmacro %}

{# Keeps how far leads were dealt: all of it, or what this batch changed. #}
{% macro keep_dealt(is_continued) %}
    {%- set leads = routing_kept('leads') -%}
    {%- set through -%} (select dealt['through'] from {{ leads_dealt() }}) {%- endset -%}
    {%- set fresh_leads -%}
        select
            kept.*,
            coalesce(heard.heard, 0) as heard,
        from (select unnest(dealt['leads'], max_depth := 2) from {{ leads_dealt() }}) as kept
        left join ({{ signals_heard(through, 'person_id in (select unnest(dealt[\'leads\']).person_id from ' ~ leads_dealt() ~ ')' if is_continued else 'true') }})
            as heard on kept.person_id = heard.person_id
    {%- endset -%}
    {%- set waiting -%}
        select lead_id, person_id, timer_us from {{ leads }}
        where is_waiting or timer_us is not null
    {%- endset -%}
    {% if is_continued %}
        delete from {{ leads }} where person_id in (select unnest(dealt['leads']).person_id from {{ leads_dealt() }});
        insert into {{ leads }} by name {{ fresh_leads }};
        delete from {{ routing_kept('waits') }} where person_id in (select unnest(dealt['leads']).person_id from {{ leads_dealt() }});
        insert into {{ routing_kept('waits') }}
        {{ waiting }} and person_id in (select unnest(dealt['leads']).person_id from {{ leads_dealt() }});
    {% else %}
        create or replace table {{ leads }} as {{ fresh_leads }};
        create or replace table {{ routing_kept('waits') }} as {{ waiting }};
    {% endif %}
    create or replace table {{ routing_kept('shares') }} as
    select unnest(dealt['shares'], max_depth := 2) from {{ leads_dealt() }};
    create or replace table {{ routing_kept('loads') }} as
    select unnest(dealt['loads'], max_depth := 2) from {{ leads_dealt() }};
    create or replace table {{ routing_kept('clock') }} as
    select
        dealt['through'] as through_us,
        ({{ directory_dealt_to(through) }}) as directory,
    from {{ leads_dealt() }}
{% endmacro %}

{# What a rebuild does after the model: the others do it within their transaction. #}
{% macro keep_all_dealt() %}
    {{ keep_dealt(false) }};
    create index routing_leads_by_person on {{ routing_kept('leads') }} (person_id);
    drop table {{ leads_dealt() }}
{% endmacro %}

{# Incremental strategy of the assignments: decisions are added behind those made already, or all are made anew and only rows that differ are
   written. Whose they are is kept for the models behind, also for the next attempt when this one dies before they have run. #}
{% macro get_incremental_deal_sql(arg_dict) %}
    {%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') -%}
    {%- set kept = arg_dict['target_relation'] -%}
    {%- set made = arg_dict['temp_relation'] -%}
    {%- set is_continued = run_query('select is_continued from ' ~ leads_dealt()).columns[0].values()[0] -%}
    create table if not exists {{ people_reassigned() }} (person_id varchar, since varchar);
    delete from {{ people_reassigned() }} where since <> '{{ var("since") }}';
    {% if is_continued %}
        insert into {{ people_reassigned() }} select person_id, '{{ var("since") }}' as since from {{ made }};
        update {{ kept }} set superseded_at = made.assigned_at, is_current = false
        from {{ made }} as made
        where {{ kept }}.mql_id = made.mql_id and {{ kept }}.is_current and {{ kept }}.assignment_number < made.assignment_number;
        update {{ kept }} set account_id = leads.account_id
        from {{ ref('int_routing__leads') }} as leads
        where {{ kept }}.mql_id = leads.lead_id and leads.{{ where_touched() }} and {{ kept }}.account_id is distinct from leads.account_id;
        insert into {{ kept }} ({{ columns }}) select {{ columns }} from {{ made }};
        {{ keep_dealt(true) }};
    {% else %}
        create or replace temp table assignments_gone as
        select {{ columns }} from {{ kept }} except select {{ columns }} from {{ made }};
        create or replace temp table assignments_made as
        select {{ columns }} from {{ made }} except select {{ columns }} from {{ kept }};
        insert into {{ people_reassigned() }}
        select person_id, '{{ var("since") }}' as since from assignments_made
        union all
        select person_id, '{{ var("since") }}' as since from assignments_gone;
        delete from {{ kept }} where assignment_id in (select assignment_id from assignments_gone);
        insert into {{ kept }} ({{ columns }}) select {{ columns }} from assignments_made;
        {{ keep_dealt(false) }};
        create index routing_leads_by_person on {{ routing_kept('leads') }} (person_id);
    {% endif %}
    drop table {{ leads_dealt() }}
{% endmacro %}
